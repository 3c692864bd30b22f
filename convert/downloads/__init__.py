"""Getting the raw data: from Kaggle by its client, from RSNA over HTTPS, resumed, checked and recorded.

Of the other packages it imports only where raw data lie and what their files are called.
"""
