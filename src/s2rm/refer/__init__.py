"""From raw REFER records to the prepared tables: reading, checking, rasterising."""
