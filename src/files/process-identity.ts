/** Which process wrote something, so that another one can tell later whether it is still at work. */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { systemErrorCode } from './regular-file.ts';
import { sha256 } from './digest.ts';

/**
 * When a process began: boot and clock ticks since, on Linux; null elsewhere, and for a process that is gone. With it, a
 * process id in use again is not taken for its former owner.
 */
export function beginningOf(pid: number): string | null {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const status = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name of the program, in parentheses, may hold spaces; the start is the 22nd field, the 20th after it.
    const ticks = status.slice(status.lastIndexOf(')') + 2).split(' ')[19];
    return `${boot.slice(0, 8)}:${ticks}`;
  } catch {
    return null;
  }
}

/** Whether a process of this machine lives. @param begun as `beginningOf` gave it, null where that is not known */
export function isProcessAlive(pid: number, begun: string | null): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (systemErrorCode(error) === 'ESRCH') return false;
  }
  return begun === null || beginningOf(pid) === begun;
}

/** Eight digits for the host and, on Linux, the container: process ids mean something within one alone. */
export function processSpace(): string {
  let namespace = '';
  try {
    namespace = readlinkSync('/proc/self/ns/pid');
  } catch {
    // a system without such
  }
  return sha256(`${hostname()} ${namespace}`).slice(0, 8);
}
