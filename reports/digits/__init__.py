"""Masks, products and training steps of networks trained on digits."""
