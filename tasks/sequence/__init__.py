"""Sequence tasks: symbols or vectors are shown step by step, and some of the steps want an answer.

base.py                   what they have in common
repeat_previous.py        repeat what was shown k steps ago
copy.py                   copy a sequence, once or several times
associative_recall.py     the item that followed the one shown
priority_sort.py          vectors in the order of their priorities
dictionary_inference.py   translate with a dictionary learned from examples
pooled_recall.py          recall what any expert has seen
sequential_mnist.py       classify an image shown a few pixels a step
"""
