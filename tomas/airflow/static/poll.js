/** Reads one API address again and again while what it shows can still change and the page is visible. */

const LIVE_MS = 3000;
const AFTER_FAILURE_MS = 8000;

/**
 * @param callbacks `url()`, `onData(payload)` → whether to go on, `onProblem({status, error, message, remedy})`
 */
export class Poll {
  #callbacks;
  #timer = null;
  #turn = 0;
  #live = true;
  #visibility = () => {
    if (document.visibilityState === "visible" && this.#live) this.now();
    else clearTimeout(this.#timer);
  };

  constructor(callbacks) {
    this.#callbacks = callbacks;
  }

  start() {
    document.addEventListener("visibilitychange", this.#visibility);
    this.now();
  }

  stop() {
    document.removeEventListener("visibilitychange", this.#visibility);
    clearTimeout(this.#timer);
    this.#turn += 1;
  }

  /** Ask at once; an answer to an older question is dropped. */
  async now() {
    clearTimeout(this.#timer);
    const turn = (this.#turn += 1);
    const { payload, problem } = await ask(this.#callbacks.url());
    if (turn !== this.#turn) return;
    if (problem) {
      this.#live = problem.status === 0 || problem.status >= 500;
      this.#callbacks.onProblem(problem);
    } else {
      this.#live = this.#callbacks.onData(payload);
    }
    if (!this.#live || document.visibilityState !== "visible") return;
    this.#timer = setTimeout(() => this.now(), problem ? AFTER_FAILURE_MS : LIVE_MS);
  }
}

async function ask(url) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", headers: { Accept: "application/json" } });
  } catch {
    return { problem: { status: 0, error: "unreachable", message: "Airflow's API server does not answer.", remedy: "Check the network and the API server." } };
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body) return { payload: body };
  return {
    problem: {
      status: response.status,
      error: body?.error ?? "failed",
      message: body?.message ?? `The API server answered with status ${response.status}.`,
      remedy: body?.remedy ?? "See the log of the API server.",
    },
  };
}

/** Address of an API route, from this module's own address: it survives a path prefix of a proxy. */
export function apiUrl(...parts) {
  return new URL(`../api/${parts.map(encodeURIComponent).join("/")}`, import.meta.url);
}
