"""What did each change do? A study from its space to its report.

    space -> plan -> run (jobs -> trials -> files) -> analysis -> report

`run` trains and writes a file per trial; `analysis` reads these files alone, and `report` the analysis.
"""
