"""A multiplexer of any number of inputs, as a tree of two-input ones."""

__all__ = ["select_module"]


def select_module(inputs: int, width: int, name: str = "select") -> str:
    """A module that passes one of ``inputs`` words on: inputs - 1 multiplexers a bit.

    Neighbours meet in a multiplexer, level by level; of an odd number the last one goes on, and is
    met at the index bit of a later level. That is right for every index below ``inputs``.
    """
    words = [f"x[{i * width + width - 1}:{i * width}]" for i in range(inputs)]
    lines, level = [], 0
    while len(words) > 1:
        nexts = []
        for i in range(0, len(words) - 1, 2):
            wire = f"level{level}_{i // 2}"
            lines.append(
                f"  wire [{width - 1}:0] {wire} = index[{level}] ? {words[i + 1]} : {words[i]};"
            )
            nexts.append(wire)
        words = nexts + words[len(words) & ~1 :]
        level += 1
    return "\n".join(
        [
            f"// One of {inputs} words of {width} bits.",
            f"module {name} (",
            f"  input  [{inputs * width - 1}:0] x,",
            f"  input  [{max(0, level - 1)}:0] index,",
            f"  output [{width - 1}:0] y",
            ");",
            *lines,
            f"  assign y = {words[0]};",
            "endmodule",
            "",
        ]
    )
