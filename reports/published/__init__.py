"""Printed speed-ups by 2:4 beside those computed."""
