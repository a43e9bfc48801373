"""Linear readers of the concept: LDA and ridge, as textbooks have them."""
