"""Kernels in C: inner loops for which a tensor operation at each step costs more than the arithmetic.

- `experts.kernels.build`: compiles `*.c` of this folder into one shared library. It is called when the library is
  installed (`hatch_build.py`), and by `python -m experts.kernels` in a checkout.
- `experts.kernels.library`: loads the shared library, if there is one, and says which compiler built it.
- `real.h`: the macros of a source, which is compiled once for float and once for double.

Kernels are optional: whatever has one also has a form in tensor operations, which is used without a compiler, on a GPU,
and wherever the kernel does not apply. They are plain C, without headers of torch or Python, start no threads, and are
called through ctypes with the addresses of contiguous tensors.
"""
