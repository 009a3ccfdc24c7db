/** Wraps a custom element as the React component that Airflow's page expects; React is the page's own. */

/** A component that renders `tag` with `attributes(props, query)` and follows its links inside the page. */
export function hostComponent(tag, attributes) {
  const { createElement, useEffect, useRef } = globalThis.React;
  const { useNavigate, useSearchParams } = globalThis.ReactRouterDOM;
  return function TomasHost(props) {
    const holder = useRef(null);
    const navigate = useNavigate();
    const [query] = useSearchParams();
    useEffect(() => {
      const element = holder.current;
      const follow = (event) => {
        event.preventDefault();
        navigate(`/${event.detail}`);
      };
      element.addEventListener("tomas-navigate", follow);
      return () => element.removeEventListener("tomas-navigate", follow);
    }, [navigate]);
    const box = { height: "100%", overflowY: "auto", padding: "8px 4px" };
    return createElement("div", { style: box }, createElement(tag, { ref: holder, ...attributes(props, query) }));
  };
}
