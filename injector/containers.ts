import { SIDECAR_NAME } from "../common/kubernetes/vocabulary.ts";
import { numberAt, objectAt, objectsAt, textAt, type Fields } from "./raw.ts";

export { SIDECAR_NAME };

/** One container of a pod, and where it is. */
export interface PodContainer {
  readonly list: "initContainers" | "containers";
  readonly index: number;
  readonly container: Fields;
}

/** All containers of a pod that are not ours, those that run first before. */
export function foreignContainers(spec: Fields): readonly PodContainer[] {
  return allContainers(spec).filter(({ container }) => textAt(container, "name") !== SIDECAR_NAME);
}

/** Our container, or one that has its name. */
export function findSidecar(spec: Fields): PodContainer | undefined {
  return allContainers(spec).find(({ container }) => textAt(container, "name") === SIDECAR_NAME);
}

/** A TCP port that a container declares. */
export interface DeclaredPort {
  readonly container: string;
  readonly name: string | undefined;
  readonly port: number;
}

/** TCP ports that containers other than ours declare. */
export function declaredPorts(spec: Fields): readonly DeclaredPort[] {
  return foreignContainers(spec).flatMap(({ container }) =>
    objectsAt(container, "ports").flatMap((entry) => {
      const port = numberAt(entry, "containerPort");
      if (port === undefined || (textAt(entry, "protocol") ?? "TCP") !== "TCP") return [];
      return [{ container: textAt(container, "name") ?? "", name: textAt(entry, "name"), port }];
    }),
  );
}

/** The value of one entry of a container's `resources`. */
export function resourceOf(
  holder: Fields,
  kind: "requests" | "limits",
  name: string,
): string | undefined {
  const value = objectAt(objectAt(holder, "resources"), kind)[name];
  // YAML reads `cpu: 1` as a number, and the API accepts it.
  return typeof value === "number" ? String(value) : typeof value === "string" ? value : undefined;
}

function allContainers(spec: Fields): readonly PodContainer[] {
  return (["initContainers", "containers"] as const).flatMap((list) =>
    objectsAt(spec, list).map((container, index) => ({ list, index, container })),
  );
}
