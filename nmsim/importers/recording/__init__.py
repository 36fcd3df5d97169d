"""Recording what a step of PyTorch multiplies, and reading layers off it.

``dispatch`` and ``known`` alone import PyTorch, ``configuration`` alone transformers; all others
see tensors by what they say of themselves. From below: ``product`` has the values, ``identity``
knows what a tensor is, ``known`` what it holds where that follows from sizes, ``operations`` which
operation multiplies what, ``tape`` puts products into phases, ``between`` follows what is done
between them; ``layers``, ``chains``, ``beside``, ``folding`` and ``splits`` make a network of them.
"""
