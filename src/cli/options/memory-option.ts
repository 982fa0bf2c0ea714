/** The options `--memory`, of commands whose memory is known before they begin, and `--window-memory`. */
import { flag, optional, settings } from '../framework/command.ts';
import { byteCount, called, choice, type ValueKind } from '../framework/option-values.ts';

const limit = (kind: ValueKind<number>) =>
  optional(
    called('size', kind),
    'memory limit, such as 8GiB: larger work runs layer by layer, or is refused before it starts ' +
      '(default: three quarters of the available memory)',
  );

export const memoryOption = limit(byteCount);

const planOption = settings({ plan: flag('print the form and memory of every stage, then exit') });

/** Options for commands whose stages have no optimizer steps. */
export const formOptions = { memory: memoryOption, ...planOption };

/** `memory` and `windowMemory` of commands that make windows; `windowMemory` is `memory` of the library. */
export const windowMemoryOptions = <Name extends string>(names: readonly Name[]) => ({
  windowMemory: optional(
    choice(names),
    `memory of the tokens that left the window: ${names.join(', ')} (default: learned)`,
  ),
  memory: limit({ ...byteCount, expects: `${byteCount.expects}; for a window's memory, give --window-memory` }),
  ...planOption,
});
