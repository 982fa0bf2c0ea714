/** *Write*: one text twice, token by token and with speculation, with every round's tree. */
import { useMemo, useRef, useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { ChoiceField, TextField } from '../components/fields.tsx';
import { Swatches } from '../components/swatches.tsx';
import { type Sampling, SamplingForm } from '../components/sampling-fields.tsx';
import { type SourceTitle, TokenTreeView } from '../components/token-tree.tsx';
import { formatCount, formatFixed, formatNumber } from '../../src/report/quantities.ts';
import { FramePacer } from './frames.ts';
import type { ModelClient } from './model-client.ts';
import type { ShownTree, Written } from './protocol.ts';

export interface WriteViewProps {
  readonly client: ModelClient;
  /** Whether a model is open and no other view writes. */
  readonly ready: boolean;
  readonly onBusy: (busy: boolean) => void;
  readonly onProblem: (error: unknown) => void;
}

/** One of the two texts, so far. */
interface Side {
  readonly text: string;
  /** Newest first, with round numbers. */
  readonly trees: readonly NumberedTree[];
  readonly guessed: number;
  readonly accepted: number;
  readonly written: Written | undefined;
}

interface NumberedTree {
  readonly round: number;
  readonly tree: ShownTree;
}

const emptySide: Side = { text: '', trees: [], guessed: 0, accepted: 0, written: undefined };
const sides = ['plain', 'speculative'] as const;
type SideName = (typeof sides)[number];
const titles: Readonly<Record<SideName, string>> = {
  plain: 'One token per round',
  speculative: 'With speculation',
};
const shownTrees = 24;

const drafterTitles = {
  auto: 'all together',
  suffix: 'this text and earlier ones',
  recycle: 'tokens the model considered',
  lookup: 'this text',
} as const;
type Drafter = keyof typeof drafterTitles;

const sourceTitles: Readonly<Record<string, SourceTitle>> = {
  lookup: { title: 'from this text', series: 0 },
  'this text': { title: 'from this text', series: 0 },
  'earlier texts': { title: 'from earlier texts', series: 1 },
  recycled: { title: 'tokens the model considered before', series: 3 },
};

const defaultSampling: Sampling = {
  // At 0, a model this small soon repeats itself.
  temperature: 0.6,
  topP: 1,
  topK: 0,
  repetitionPenalty: 1,
  seed: 1,
  maxTokens: 120,
};

export function WriteView({ client, ready, onBusy, onProblem }: WriteViewProps) {
  const [prompt, setPrompt] = useState('The state of the union');
  const [sampling, setSampling] = useState<Sampling>(defaultSampling);
  const [drafter, setDrafter] = useState<Drafter>('auto');
  const [shown, setShown] = useState<Readonly<Record<SideName, Side>>>({ plain: emptySide, speculative: emptySide });
  const [given, setGiven] = useState('');
  const [writing, setWriting] = useState<SideName | undefined>(undefined);
  const stopped = useRef(false);

  const write = async (): Promise<void> => {
    stopped.current = false;
    setGiven(prompt);
    const now: Record<SideName, Side> = { plain: emptySide, speculative: emptySide };
    const draw = (): void => setShown({ ...now });
    const pacer = new FramePacer(draw);
    draw();
    onBusy(true);
    try {
      for (const side of sides) {
        if (stopped.current) break;
        setWriting(side);
        const id = client.newText();
        const { maxTokens, ...sampler } = sampling;
        const options = {
          maxTokens,
          sampler,
          speculate: side === 'speculative' ? drafter : 'off',
        } as const;
        const written = await client.write(id, prompt, options, (progress) => {
          if (progress.type !== 'written') return;
          const { text, tree } = progress;
          const before = now[side];
          now[side] = {
            ...before,
            text: before.text + text,
            trees:
              tree === undefined
                ? before.trees
                : [{ round: (before.trees[0]?.round ?? 0) + 1, tree }, ...before.trees].slice(0, shownTrees),
            guessed: before.guessed + (tree === undefined ? 0 : tree.tokens.length - 1),
            accepted: before.accepted + (tree === undefined ? 0 : tree.accepted.length - 1),
          };
          pacer.ask();
        });
        now[side] = { ...now[side], written };
        draw();
        await client.forget(id);
      }
    } catch (error) {
      onProblem(error);
    } finally {
      setWriting(undefined);
      onBusy(false);
    }
  };
  const stop = (): void => {
    stopped.current = true;
    client.stop().catch(onProblem);
  };

  return (
    <div class="view">
      <form
        class="panel"
        aria-label="Text and settings"
        onSubmit={(event) => {
          event.preventDefault();
          void write();
        }}
      >
        <TextField label="Prompt" rows={4} value={prompt} onValue={setPrompt} />
        <div class="row">
          <Button name="Write" type="submit" kind="primary" icon="send" disabled={!ready || writing !== undefined} />
          <Button name="Stop" icon="stop" disabled={writing === undefined} onClick={stop} />
        </div>
        <ChoiceField label="Guesses from" value={drafter} choices={drafterTitles} onValue={setDrafter} />
        <SamplingForm
          sampling={sampling}
          defaults={defaultSampling}
          mostTokens={4096}
          onSampling={(change) => setSampling({ ...sampling, ...change })}
        />
      </form>
      <div class="results">
        <p class="verdict" role="status">
          {verdict(shown)}
        </p>
        <div class="sides">
          {sides.map((side) => (
            <section key={side} class="card" aria-label={titles[side]} data-side={side}>
              <h2>{titles[side]}</h2>
              <p class="muted numbers">{numbersOf(shown[side], writing === side)}</p>
              <p class="text">
                <span class="muted">{given}</span>
                <span data-written>{shown[side].text}</span>
              </p>
            </section>
          ))}
        </div>
        <section class="card" aria-label="Token trees">
          <h2>Token trees</h2>
          <TreeList side={shown.speculative} />
        </section>
      </div>
    </div>
  );
}

function TreeList({ side: { trees, guessed, accepted } }: { readonly side: Side }) {
  if (trees.length === 0) {
    return (
      <p class="muted">
        Each round shows here its guesses and their sources, the path that the model accepted, and the token that it
        added.
      </p>
    );
  }
  return (
    <>
      <p class="muted numbers">
        {formatCount(accepted)} of {formatCount(guessed)} guesses accepted; the newest round first.{' '}
        <span class="legend accepted">accepted</span> <span class="legend rejected">rejected</span>{' '}
        <span class="legend next">added by the model</span>
      </p>
      <Swatches of={shownSources(trees)} />
      <div class="trees" tabIndex={0} role="region" aria-label="Trees of the last rounds, the newest first">
        {trees.map(({ round, tree }) => (
          <RoundTree key={round} tree={tree} />
        ))}
      </div>
    </>
  );
}

function RoundTree({ tree }: { readonly tree: ShownTree }) {
  // Not redrawn for each piece of text, which comes many times a second.
  return useMemo(
    () => (
      <figure>
        <TokenTreeView {...tree} sources={tree.sources.map((source) => sourceTitles[source])} />
        <figcaption class="muted numbers">
          {formatCount(tree.tokens.length)} read, {formatCount(tree.accepted.length)} gained
        </figcaption>
      </figure>
    ),
    [tree],
  );
}

/** Titles of the guesses' sources, without repeats. */
function shownSources(trees: readonly NumberedTree[]): SourceTitle[] {
  const sources = new Set(trees.flatMap(({ tree }) => tree.sources.slice(1).map((source) => sourceTitles[source])));
  return [...sources].sort((a, b) => a.series - b.series);
}

function numbersOf({ written, text }: Side, writing: boolean): string {
  if (written === undefined) {
    if (writing) return 'writing …';
    return text === '' ? 'nothing yet' : 'stopped';
  }
  const { tokens, rounds, tokensPerSecond } = written;
  return (
    `${formatCount(tokens.length)} tokens in ${formatCount(rounds)} rounds, ` +
    `${formatFixed(tokens.length / rounds, 2)} per round, ${formatNumber(tokensPerSecond, 3)} per second`
  );
}

/** Compares the two sides. */
function verdict({ plain, speculative }: Readonly<Record<SideName, Side>>): string {
  if (plain.written === undefined || speculative.written === undefined) {
    return 'Writes the same text twice: one token per round, then with guesses that the model checks.';
  }
  const ours = speculative.written.tokens;
  const common = plain.written.tokens.every((token, at) => at >= ours.length || token === ours[at]);
  const rounds = `${formatCount(plain.written.rounds)} rounds and ${formatCount(speculative.written.rounds)}`;
  return common ? `The same text, token for token, in ${rounds}.` : `The texts differ after ${rounds}.`;
}
