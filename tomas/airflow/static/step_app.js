import "./step_element.js";
import { hostComponent } from "./host.js";

globalThis["TOMAS Step"] = hostComponent("tomas-step", ({ dagId, runId, taskId, mapIndex }) => ({
  dag: dagId,
  run: runId,
  task: taskId,
  map: mapIndex ?? -1,
}));
