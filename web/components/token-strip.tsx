/** A text token by token, one of them chosen, with bars over each. Arrow keys, Home and End choose. */
import { useId } from 'preact/hooks';
import { visibleToken } from './tokens.ts';

/** A part of the bar over a token. */
export interface BarPart {
  /** From 0 to 1: shares of the height. */
  readonly share: number;
  /** Index of a series color. */
  readonly series: number | 'muted';
}

export interface TokenStripProps {
  readonly label: string;
  readonly tokens: readonly string[];
  readonly chosen: number;
  readonly onChosen: (token: number) => void;
  /** Bars over the tokens, side by side; each is a stack of parts. */
  readonly bars?: readonly (readonly BarPart[])[][];
  /** Note on a token besides its text, such as how much it is read. */
  readonly describe?: (token: number) => string;
}

const steps: Readonly<Record<string, (at: number, count: number) => number>> = {
  ArrowLeft: (at) => at - 1,
  ArrowUp: (at) => at - 1,
  ArrowRight: (at) => at + 1,
  ArrowDown: (at) => at + 1,
  Home: () => 0,
  End: (_, count) => count - 1,
};

export function TokenStrip({ label, tokens, chosen, onChosen, bars = [], describe }: TokenStripProps) {
  const id = useId();
  return (
    <div
      class="token-strip"
      role="listbox"
      aria-label={label}
      aria-orientation="horizontal"
      aria-activedescendant={`${id}-${chosen}`}
      tabIndex={0}
      onKeyDown={(event) => {
        if (!Object.hasOwn(steps, event.key)) return;
        event.preventDefault();
        onChosen(Math.max(0, Math.min(tokens.length - 1, steps[event.key](chosen, tokens.length))));
      }}
    >
      {tokens.map((token, at) => (
        <div
          key={at}
          id={`${id}-${at}`}
          class="token"
          role="option"
          aria-selected={at === chosen}
          aria-label={`${at}: ${token}${describe === undefined ? '' : `, ${describe(at)}`}`}
          onClick={() => onChosen(at)}
        >
          {bars.length > 0 && (
            <span class="bars" aria-hidden="true">
              {bars.map((tokensOfBar, bar) => (
                <Bar key={bar} parts={tokensOfBar[at] ?? []} />
              ))}
            </span>
          )}
          <span class="mono">{visibleToken(token)}</span>
        </div>
      ))}
    </div>
  );
}

const barHeight = 40;

function Bar({ parts }: { readonly parts: readonly BarPart[] }) {
  let top = barHeight;
  return (
    <svg width="8" height={barHeight} viewBox={`0 0 8 ${barHeight}`}>
      {parts.map(({ share, series }, at) => {
        const height = Math.min(1, share) * barHeight;
        top -= height;
        return <rect key={at} class={`series-${series}`} x="0" y={top} width="8" height={height} />;
      })}
    </svg>
  );
}
