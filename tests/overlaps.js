() => {
  const boxes = [];
  const clipped = (element) => {
    let box = { left: 0, right: innerWidth, top: -1e9, bottom: 1e9 };
    for (let one = element; one && one !== document.documentElement; one = one.parentElement) {
      const style = getComputedStyle(one);
      if (style.overflowX !== "visible" || style.overflowY !== "visible") {
        const r = one.getBoundingClientRect();
        box = {
          left: Math.max(box.left, r.left), right: Math.min(box.right, r.right),
          top: Math.max(box.top, r.top), bottom: Math.min(box.bottom, r.bottom),
        };
      }
    }
    return box;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const element = node.parentElement;
    if (!node.textContent.trim() || ["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) continue;
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    if (element.closest("thead, .tabulator-header")) continue; // rows scroll under it
    const bounds = clipped(element);
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const r of range.getClientRects()) {
      const box = {
        left: Math.max(r.left, bounds.left), right: Math.min(r.right, bounds.right),
        top: Math.max(r.top, bounds.top), bottom: Math.min(r.bottom, bounds.bottom),
        text: node.textContent.trim().slice(0, 60), element,
      };
      if (box.right - box.left > 2 && box.bottom - box.top > 2) boxes.push(box);
    }
  }
  boxes.sort((one, other) => one.top - other.top);
  const found = [];
  boxes.forEach((one, at) => {
    for (let next = at + 1; next < boxes.length && boxes[next].top < one.bottom; next += 1) {
      const other = boxes[next];
      if (other.element === one.element) continue;
      const wide = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const high = Math.min(one.bottom, other.bottom) - other.top;
      if (wide > 3 && high > 5) found.push(`${one.text} / ${other.text}`);
    }
  });
  return { texts: boxes.length, found };
}
