"""Data sets that tasks are made of.

download.py   files in a folder of the user's, or fetched once from mirrors and verified by checksum
mnist.py      the images of MNIST and their splits
idx.py        the file format of MNIST
"""
