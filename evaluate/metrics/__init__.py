"""The RSNA score, COCO mAP, and how sure one can be. Knows tables, but no file and no model."""
