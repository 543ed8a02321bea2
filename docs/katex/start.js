// Formulas of a page are rendered when it is loaded; KaTeX 0.16.22 (MIT, LICENSE) lies beside this file.
document.addEventListener("DOMContentLoaded", () =>
  renderMathInElement(document.body, {
    delimiters: [
      { left: "\\[", right: "\\]", display: true },
      { left: "\\(", right: "\\)", display: false },
    ],
    throwOnError: true,
  }),
);
