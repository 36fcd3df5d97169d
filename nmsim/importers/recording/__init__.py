"""Recording what a step of PyTorch multiplies, and reading layers off it.

``dispatch`` alone imports PyTorch, ``configuration`` alone transformers; all others see tensors
by what they say of themselves. From below: ``product`` has the values, ``identity`` knows what a
tensor is, ``operations`` which operation multiplies what, ``tape`` puts products into phases,
``layers``, ``scaling`` and ``blocks`` make a network of them.
"""
