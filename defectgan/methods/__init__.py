"""The methods: one file each, what they share beside them."""
