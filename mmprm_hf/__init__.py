"""Multimodal process reward models for the Hugging Face ecosystem."""
