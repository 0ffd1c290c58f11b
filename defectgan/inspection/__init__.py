"""Inspection of masks: numbers (measure), where they come from (subjects), and what a person looks
at (report).
"""
