"""What a run leaves behind: its numbers, its verdict and one page that shows them."""
