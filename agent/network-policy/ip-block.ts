import { BlockList, isIP } from "node:net";

/** A range of addresses without some parts of it, all of one family. */
export interface IpBlock {
  readonly family: Family;
  readonly inside: BlockList;
  readonly except: BlockList;
}

type Family = "ipv4" | "ipv6";

/** IPv4 addresses written as IPv6 ones: networks differ in what they take them for. */
const MAPPED = new BlockList();
MAPPED.addSubnet("::ffff:0:0", 96, "ipv6");
const MAPPED_BITS = 96;

const BITS = { ipv4: 32, ipv6: 128 } as const;

/**
 * Makes a block of ranges such as `10.0.0.0/8`.
 *
 * @returns Nothing when one of them is none.
 */
export function makeBlock(cidr: string, except: readonly string[]): IpBlock | undefined {
  const inside = new BlockList();
  const outside = new BlockList();
  const isGood = addRange(inside, cidr) && except.every((each) => addRange(outside, each));
  return isGood ? { family: familyOf(cidr), inside, except: outside } : undefined;
}

/** Whether an address is in a block. No IPv4 address is in a range of IPv6, `::/0` included. */
export function contains({ family, inside, except }: IpBlock, address: string): boolean {
  // A BlockList takes an IPv4 address for the IPv6 one that it is mapped to.
  if (familyOf(address) !== family) return false;
  return inside.check(address, family) && !except.check(address, family);
}

function addRange(list: BlockList, cidr: string): boolean {
  const match = /^(?<address>[0-9A-Fa-f.:]{2,45})\/(?<bits>\d{1,3})$/.exec(cidr)?.groups;
  const { address = "", bits: text = "" } = match ?? {};
  const [family, bits] = [familyOf(address), Number(text)];
  if (isIP(address) === 0 || bits > BITS[family]) return false;
  if (bits >= MAPPED_BITS && MAPPED.check(address, family)) return false;
  list.addSubnet(address, bits, family);
  return true;
}

/** Of an address or a range. */
function familyOf(text: string): Family {
  return text.includes(":") ? "ipv6" : "ipv4";
}
