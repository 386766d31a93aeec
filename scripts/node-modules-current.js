// Exits 0 when node_modules holds exactly what package-lock.json asks for on this machine.
// Plain JavaScript: runs before anything is installed, on any Node.js >= 18.
//
// npm writes node_modules/.package-lock.json when an install has ended, with what it really
// installed; so neither an interrupted nor an outdated install passes, and no stamp is needed.
import { existsSync, readFileSync } from "node:fs";
import process from "node:process";

function packagesOf(path) {
  return JSON.parse(readFileSync(path, "utf8")).packages;
}

function isForThisMachine({ os, cpu }) {
  const fits = (list, own) => list === undefined || [list].flat().includes(own);
  return fits(os, process.platform) && fits(cpu, process.arch);
}

function isCurrent() {
  const installedList = "node_modules/.package-lock.json";
  const ownNode = `node_modules/node-linux-${process.arch}/bin/node`;
  if (!existsSync(installedList) || !existsSync("node_modules/.bin/node")) return false;
  if (!existsSync(ownNode)) return false;
  const wanted = packagesOf("package-lock.json");
  const installed = packagesOf(installedList);
  const isSame = (path) => installed[path]?.version === wanted[path]?.version;
  const isOptional = (path) => wanted[path].optional === true || !isForThisMachine(wanted[path]);
  return (
    Object.keys(installed).every(isSame) &&
    Object.keys(wanted).every((path) => path === "" || isSame(path) || isOptional(path))
  );
}

process.exit(isCurrent() ? 0 : 1);
