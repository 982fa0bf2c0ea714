/**
 * Event files, which TensorBoard reads: a record per event, each an `Event` message between checksums.
 *
 *     length, 8 bytes | masked CRC-32C of them, 4 | message | masked CRC-32C of it, 4     (all little-endian)
 *
 * Records go to the operating system before `write` returns; what a power cut tears, the checksums tell.
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { fileError, systemErrorCode } from '../../files/regular-file.ts';
import { maskedCrc32c } from './crc32c.ts';
import { EventSchema } from './event_pb.ts';

/** Says that files may hold session marks, by which readers know that a run was taken up again. */
const fileVersion = 'brain.Event:2';
/** The status of a session that begins. */
const sessionStart = 1;

/** Numbers by tag, such as `training/loss`. */
export type Scalars = Readonly<Record<string, number>>;

/** An event file being written. */
export class EventFile {
  readonly path: string;
  readonly #now: () => Date;
  readonly #file: number;

  /** @param file descriptor of the empty file at `path` */
  private constructor(path: string, file: number, now: () => Date) {
    this.path = path;
    this.#file = file;
    this.#now = now;
  }

  /**
   * Begins a file in a folder that exists. A run that goes on begins another one: a reader then forgets what an earlier file
   * has from step `done` + 1 on.
   * @param done steps that earlier files keep; 0 for a run that begins
   * @param now default: the system's clock
   * @throws LinnetError `PATH` from the file system
   */
  static open(folder: string, done: number, now: () => Date = () => new Date()): EventFile {
    const host = hostname().replace(/[^\w.-]/g, '_');
    const second = String(Math.floor(now().getTime() / 1000)).padStart(10, '0');
    const path = join(folder, `events.out.tfevents.${second}.${host}.${process.pid}`);
    const created = createNumbered(path);
    const file = new EventFile(created.path, created.descriptor, now);
    file.#append({ what: { case: 'fileVersion', value: fileVersion } });
    if (done > 0) {
      file.#append({ step: BigInt(done + 1), what: { case: 'sessionLog', value: { status: sessionStart } } });
    }
    return file;
  }

  /** Adds numbers of a step. */
  write(step: number, scalars: Scalars): void {
    const value = Object.entries(scalars).map(([tag, number]) => ({
      tag,
      value: { case: 'simpleValue' as const, value: number },
    }));
    if (value.length > 0) this.#append({ step: BigInt(step), what: { case: 'summary', value: { value } } });
  }

  close(): void {
    fsyncSync(this.#file);
    closeSync(this.#file);
  }

  #append(event: MessageInitShape<typeof EventSchema>): void {
    const message = create(EventSchema, { wallTime: this.#now().getTime() / 1000, ...event });
    writeSync(this.#file, frameRecord(toBinary(EventSchema, message)));
  }
}

/** A new file at `path`, with a number behind it where that exists: a run may be taken up within the second. */
function createNumbered(path: string): { readonly path: string; readonly descriptor: number } {
  for (let number = 0; ; number++) {
    const numbered = `${path}.${number}`;
    try {
      return { path: numbered, descriptor: openSync(numbered, 'wx') };
    } catch (error) {
      if (systemErrorCode(error) !== 'EEXIST') throw fileError('create', numbered, error);
    }
  }
}

/** A record: its length and its bytes, each followed by its checksum. */
function frameRecord(bytes: Uint8Array): Uint8Array {
  const record = Buffer.alloc(8 + 4 + bytes.length + 4);
  record.writeBigUInt64LE(BigInt(bytes.length), 0);
  record.writeUInt32LE(maskedCrc32c(record.subarray(0, 8)), 8);
  record.set(bytes, 12);
  record.writeUInt32LE(maskedCrc32c(bytes), 12 + bytes.length);
  return record;
}
