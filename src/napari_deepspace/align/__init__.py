"""Laying one slide over another: landmarks, automatic alignment, and what moves with them. No Qt, no torch."""
