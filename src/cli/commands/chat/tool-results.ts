/** Functions of a chat in the terminal: the file that lists them, and the results of calls, typed or made by a command. */
import { spawn } from 'node:child_process';
import { z } from 'zod';
import { readTextFile } from '../../../data/files/text-file.ts';
import type { MadeCall } from '../../../engine/tools/call-reader.ts';
import type { ToolFunction } from '../../../engine/tools/tool-formats.ts';
import { LinnetError } from '../../../errors.ts';
import { checkJsonLimits, parseJson } from '../../../files/json-object.ts';
import { validated } from '../../../files/schema-problems.ts';
import { functionFields, mostTools } from '../../../serving/http/dialects/tool-fields.ts';
import type { CommandContext } from '../../framework/context.ts';

const listed = z
  .array(z.object({ type: z.literal('function'), function: z.object(functionFields) }))
  .min(1)
  .max(mostTools)
  .refine((tools) => new Set(tools.map((tool) => tool.function.name)).size === tools.length, {
    error: 'expected functions with distinct names',
  });

/** Functions of a JSON file, as OpenAI's `tools`. @throws LinnetError `FORMAT` naming wrong fields, or as `readTextFile` */
export async function readTools(path: string): Promise<readonly ToolFunction[]> {
  const json = await readTextFile(path);
  checkJsonLimits(new TextEncoder().encode(json), path);
  const refusal = `${path} is not a list of functions like "tools" in an OpenAI request`;
  const tools = validated(listed, parseJson(json, path), 'FORMAT', refusal);
  return tools.map(({ function: { name, description, parameters } }) => ({ name, description, parameters }));
}

/** Longest result that a command may print, in bytes. */
const mostBytes = 1 << 20;

export interface ResultSource {
  /** Command line of the shell. Default: results are typed. */
  readonly toolCommand?: string;
  /** Whether it runs unasked. */
  readonly yes: boolean;
}

/** Shows a call and returns its result; undefined at the end of input. */
export async function callResult(
  context: CommandContext,
  call: MadeCall,
  { toolCommand, yes }: ResultSource,
): Promise<string | undefined> {
  context.print(`${call.name}(${call.json})`);
  if (toolCommand !== undefined) {
    const answer = yes ? 'y' : await context.ask(`run ${toolCommand}? [y/N] `);
    if (answer === undefined) return undefined;
    if (/^y(es)?$/i.test(answer.trim())) {
      const result = await commandResult(toolCommand, call, context.signal);
      context.print(printable(result));
      return result;
    }
  }
  return context.ask(`result of ${call.name}: `);
}

/** A text for the terminal: control characters, which could move its cursor or change its title, are shown by number. */
export function printable(text: string): string {
  return text.replace(/(?![\n\t])\p{Cc}/gu, (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** The output of a command that gets a call as JSON, or how it failed. @throws LinnetError `RUNTIME`, `ABORTED` */
function commandResult(command: string, { callId: id, name, json }: MadeCall, signal: AbortSignal): Promise<string> {
  const started = spawn(command, { shell: true, stdio: ['pipe', 'pipe', 'inherit'], signal });
  const pieces: Buffer[] = [];
  let bytes = 0;
  /** Closes the pipes too: a process that the shell has started may hold them after its end. */
  const stop = (): void => {
    started.kill();
    started.stdin.destroy();
    started.stdout.destroy();
  };
  const ended = new Promise<string>((resolve, reject) => {
    started.once('error', (cause) => {
      stop();
      reject(
        signal.aborted
          ? new LinnetError('ABORTED', `stopped ${command}`)
          : new LinnetError('RUNTIME', `cannot run ${command}: ${cause.message}`, { cause }),
      );
    });
    started.once('close', (code, killed) => {
      if (bytes > mostBytes) resolve(`the command printed more than ${mostBytes} bytes`);
      else if (code !== 0) resolve(`the command failed: ${killed ?? `exit code ${code}`}`);
      else resolve(new TextDecoder().decode(Buffer.concat(pieces)).trimEnd());
    });
  });
  // A command that does not read its input has not failed.
  started.stdin.on('error', () => undefined);
  started.stdin.end(`{"id":${JSON.stringify(id)},"name":${JSON.stringify(name)},"arguments":${json}}\n`);
  started.stdout.on('data', (piece: Buffer) => {
    bytes += piece.length;
    if (bytes > mostBytes) stop();
    else pieces.push(piece);
  });
  return ended;
}
