/** What <tomas-plan> and <tomas-step> share: shadow root, theme, links inside Airflow, focus over redraws. */

import { h } from "./dom.js";
import { styleSheet } from "./style.js";

export class TomasElement extends HTMLElement {
  #theme = null;
  #resize = null;

  connectedCallback() {
    if (!this.shadowRoot) {
      this.attachShadow({ mode: "open" }).adoptedStyleSheets = [styleSheet()];
      this.shadowRoot.addEventListener("click", (event) => this.#follow(event));
    }
    const root = document.documentElement;
    const dark = () => this.classList.toggle("dark", root.classList.contains("dark"));
    dark();
    this.#theme = new MutationObserver(dark);
    this.#theme.observe(root, { attributes: true, attributeFilter: ["class"] });
    let width = 0;
    this.#resize = new ResizeObserver(([entry]) => {
      if (Math.abs(entry.contentRect.width - width) < 2) return;
      width = entry.contentRect.width;
      this.draw();
    });
    this.#resize.observe(this);
    this.begin();
  }

  disconnectedCallback() {
    this.#theme?.disconnect();
    this.#resize?.disconnect();
    this.end();
  }

  attributeChangedCallback(name, before, after) {
    if (before === after || !this.isConnected || !this.shadowRoot) return;
    this.end();
    this.begin();
  }

  /** Replace what is shown; focus, text cursor and scroll positions survive. */
  show(...children) {
    const root = this.shadowRoot;
    const key = root.activeElement?.getAttribute("data-key");
    const caret = root.activeElement?.selectionStart;
    const positions = [...root.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
    root.replaceChildren(h("div", { class: "page" }, children));
    [...root.querySelectorAll(".scroll")].forEach((box, i) => {
      [box.scrollLeft, box.scrollTop] = positions[i] ?? [0, 0];
    });
    if (!key) return;
    const focused = root.querySelector(`[data-key="${CSS.escape(key)}"]`);
    focused?.focus({ preventScroll: true });
    if (caret !== null && caret !== undefined) focused?.setSelectionRange?.(caret, caret);
  }

  /** Links marked `data-route` stay inside Airflow's single page where the host listens. */
  #follow(event) {
    const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement && node.hasAttribute("data-route"));
    if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const wanted = new CustomEvent("tomas-navigate", { detail: link.getAttribute("href"), bubbles: true, composed: true, cancelable: true });
    if (!this.dispatchEvent(wanted)) event.preventDefault();
  }
}

/** A card that fills the page where there is nothing to draw. */
export function emptyState(title, text, ...more) {
  return h("div", { class: "empty", role: "status" }, h("h2", null, title), text ? h("p", null, text) : null, more);
}

/** A box with a message; `tone` is info, warn or bad. */
export function notice(tone, title, ...more) {
  return h("div", { class: `notice ${tone}`, role: tone === "bad" ? "alert" : "status" }, h("b", null, title), more.map((part) => (typeof part === "string" ? h("span", null, part) : part)));
}

/** A titled panel; `legend` stands at its right. */
export function panel(title, legend, ...body) {
  return h("section", { class: "panel", "aria-label": title }, h("header", null, h("h3", null, title), legend), body);
}

/** The state shown for a problem of the API. */
export function problemState(problem, retry) {
  const titles = {
    0: "Airflow does not answer",
    401: "You are logged out",
    403: "No access to this plan",
    404: "Nothing to show here",
    503: "The TOMAS store cannot be read",
  };
  const again = h("button", { type: "button", "data-key": "retry", on: { click: retry } }, "Try again");
  return emptyState(
    titles[problem.status] ?? "The plan cannot be shown",
    problem.message,
    problem.remedy ? h("p", null, problem.remedy) : null,
    problem.status === 403 || problem.status === 404 ? null : again,
  );
}
