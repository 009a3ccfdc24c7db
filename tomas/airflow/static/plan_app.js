import "./plan_element.js";
import { hostComponent } from "./host.js";

globalThis["TOMAS Plan"] = hostComponent("tomas-plan", ({ dagId, runId }, query) => ({
  dag: dagId,
  run: runId,
  step: query.get("step") ?? undefined,
}));
