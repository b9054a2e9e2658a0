"""Efficient attention: a layer's softmax over all tokens becomes one over a window, or a kernel.

Both change what is computed, so that they are distilled. Which layers take which form is decided by
the search.
"""
