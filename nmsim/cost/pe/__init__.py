"""Processing elements: their structure, and what it is built of."""
