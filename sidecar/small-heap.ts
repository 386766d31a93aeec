/**
 * Keeps the memory of a sidecar's process small. Imported for its effect alone, by the entry of the
 * process and before everything else: what is loaded first has filled a larger heap already.
 *
 * Measured with Node 24 on a sidecar from dist/, idle and after 300 scrapes, anonymous memory:
 * 26.1 and 28.1 MiB without, 21.4 and 21.3 with these flags (medians of three). Bytes of connections are moved by
 * native threads, so slower JavaScript costs them nothing.
 */
import { setFlagsFromString } from "node:v8";

// The young generation stays at its first size, 1 MiB, instead of growing to 16.
setFlagsFromString("--semi-space-growth-factor=1");
setFlagsFromString("--optimize-for-size");
