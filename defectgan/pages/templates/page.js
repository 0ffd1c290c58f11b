(() => {
  // The browser may forbid a page from the disk to remember anything.
  const memory = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
                   set: value => { try { localStorage.setItem("theme", value); } catch { /* not remembered */ } } };
  const root = document.documentElement;
  if (memory.get()) root.dataset.theme = memory.get();
  document.getElementById("theme").addEventListener("click", () => {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = (root.dataset.theme ?? system) === "dark" ? "light" : "dark";
    memory.set(root.dataset.theme);
  });
})();
