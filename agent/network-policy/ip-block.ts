import { BlockList, isIP, isIPv6 } from "node:net";

/** A range of addresses without some parts of it. */
export interface IpBlock {
  readonly inside: BlockList;
  readonly except: BlockList;
}

/**
 * Makes a block of ranges such as `10.0.0.0/8`.
 *
 * @returns Nothing when one of them is none.
 */
export function makeBlock(cidr: string, except: readonly string[]): IpBlock | undefined {
  const inside = new BlockList();
  const outside = new BlockList();
  const isGood = addRange(inside, cidr) && except.every((each) => addRange(outside, each));
  return isGood ? { inside, except: outside } : undefined;
}

/** Whether an address is in a block. */
export function contains({ inside, except }: IpBlock, address: string): boolean {
  const family = familyOf(address);
  return inside.check(address, family) && !except.check(address, family);
}

function addRange(list: BlockList, cidr: string): boolean {
  const match = /^(?<address>[0-9A-Fa-f.:]{2,45})\/(?<bits>\d{1,3})$/.exec(cidr)?.groups;
  const { address = "", bits = "" } = match ?? {};
  if (isIP(address) === 0 || Number(bits) > (isIPv6(address) ? 128 : 32)) return false;
  list.addSubnet(address, Number(bits), familyOf(address));
  return true;
}

function familyOf(address: string): "ipv4" | "ipv6" {
  return isIPv6(address) ? "ipv6" : "ipv4";
}
