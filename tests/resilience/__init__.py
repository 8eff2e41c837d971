"""Crashes, kills, faults and several replicas."""
