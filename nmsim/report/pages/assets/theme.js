"use strict";

// ---- light and dark, on a screen and on paper

// Of the colours of figures (nmsim.report.plots.theme): what stands for them on a dark ground.
const ON_DARK = {
  "#1F2933": "#E4E7EB", "#6B7280": "#9AA5B1", "#4B5563": "#AEB8C4", "#D7DBE0": "#56616D",
  "#E8EBEF": "#2B333D", "#C3C9D1": "#4A5561", "#FFFFFF": "#14181D",
  "#332288": "#8C7FE0", "#882255": "#D0709E", "#AA4499": "#C76BB9",
};
const TEXT_ON_DARK = { "#0072B2": "#5CB3EA", "#B34700": "#F0913F", "#007A59": "#3FC79C", "#4B5563": "#AEB8C4" };

let paper = false; // a printer's, which is white

function dark() {
  if (paper) return false;
  const said = document.documentElement.dataset.theme;
  return said ? said === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function tinted(value) {
  if (typeof value === "string") {
    if (value[0] === "#" && value.length === 7) return ON_DARK[value.toUpperCase()] || value;
    return value.replace(/color:(#[0-9A-F]{6})/g, (all, hex) => "color:" + (TEXT_ON_DARK[hex] || hex));
  }
  if (Array.isArray(value)) return value.map(tinted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, tinted(inner)]));
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  try { localStorage.setItem("nmsim-theme", name); } catch { /* a file may have no storage */ }
  showTheme();
}

function showTheme() {
  const button = document.getElementById("theme");
  if (button) {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", dark() ? "Show on a light ground" : "Show on a dark ground");
  }
  redrawAll();
}

try {
  const kept = localStorage.getItem("nmsim-theme");
  if (kept) document.documentElement.dataset.theme = kept;
} catch { /* as before */ }
