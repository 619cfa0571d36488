"""What happens on an answered call: templates, prompts, keys, intents."""
