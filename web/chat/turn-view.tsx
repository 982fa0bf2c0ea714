/** One turn of a conversation, with its actions. */
import { useMemo, useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { CallCards } from './call-cards.tsx';
import { formatCount, formatNumber } from '../../src/report/quantities.ts';
import { authorNames, finishes, type Turn } from './conversation.ts';
import { Markdown } from './markdown.tsx';

export interface TurnActions {
  readonly show: (turn: number) => void;
  readonly again: (turn: number) => void;
  readonly edit: (turn: number, text: string) => void;
  readonly giveResults: (turn: number, results: readonly string[]) => void;
  /** Opens the conversation up to a turn in a new column. */
  readonly beside: (turn: number) => void;
}

export interface TurnViewProps {
  readonly turn: Turn;
  /** Ids of the turn and its alternatives. */
  readonly siblings: readonly number[];
  /** The following turn of results, with the ids of its alternatives. */
  readonly results: Turn | undefined;
  readonly resultSiblings: readonly number[];
  /** Whether it is being written. */
  readonly writing: boolean;
  /** Whether any answer is being written, which blocks other writing. */
  readonly busy: boolean;
  readonly markdown: boolean;
  readonly actions: TurnActions;
}

function factsOf({ tokens, rounds, tokensPerSecond, finish }: Turn): string {
  const facts = [
    tokens === undefined ? undefined : `${formatCount(tokens)} tokens`,
    tokens === undefined || rounds === undefined || rounds >= tokens ? undefined : `${formatCount(rounds)} rounds`,
    tokensPerSecond === undefined ? undefined : `${formatNumber(tokensPerSecond, 3)}/s`,
    finish === undefined ? undefined : finishes[finish],
  ];
  return facts.filter((fact) => fact !== undefined).join(' · ');
}

function TurnArticle(props: TurnViewProps) {
  const { turn, siblings, results, resultSiblings, writing, busy, markdown, actions } = props;
  const [draft, setDraft] = useState<string | undefined>(undefined);
  const { id, author, text, thoughts, problem, calls = [], finish } = turn;
  const facts = factsOf(turn);
  return (
    <article class={`turn ${author}`} aria-label={`${authorNames[author]}, turn ${id + 1}`} aria-busy={writing}>
      <header>
        <span class="author">{authorNames[author]}</span>
        <Alternatives siblings={siblings} id={id} show={actions.show} />
        {facts !== '' && <span class="facts numbers">{facts}</span>}
      </header>
      {thoughts !== undefined && <Thoughts text={thoughts} growing={writing && text === ''} />}
      {draft !== undefined ? (
        <EditForm
          text={draft}
          onCancel={() => setDraft(undefined)}
          onSave={(changed) => {
            setDraft(undefined);
            actions.edit(id, changed);
          }}
        />
      ) : markdown && author === 'model' ? (
        <Markdown text={text} />
      ) : (
        <div class="plain">{text}</div>
      )}
      {calls.length > 0 && (
        <CallCards
          calls={calls}
          results={results?.results}
          onResults={finish !== 'calls' || busy ? undefined : (given) => actions.giveResults(id, given)}
        />
      )}
      {results !== undefined && <Alternatives siblings={resultSiblings} id={results.id} show={actions.show} />}
      {writing && <span class="cursor" aria-hidden="true" />}
      {problem !== undefined && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {finish === 'left' && !writing && (
        <p class="remark muted">
          Cut off: the page was left, or another tab is writing it. Your next message continues from here; “Again”
          rewrites it.
        </p>
      )}
      {!writing && draft === undefined && (
        <footer>
          {author === 'model' ? (
            <Button name="Again" icon="again" kind="quiet" disabled={busy} onClick={() => actions.again(id)} />
          ) : (
            <Button name="Edit" icon="edit" kind="quiet" disabled={busy} onClick={() => setDraft(text)} />
          )}
          {isSecureContext && (
            <Button name="Copy" icon="copy" kind="quiet" onClick={() => void navigator.clipboard.writeText(text)} />
          )}
          <Button name="Fork beside" icon="beside" kind="quiet" onClick={() => actions.beside(id)} />
        </footer>
      )}
    </article>
  );
}

/** Folded: thoughts may be longer than the answer. */
function Thoughts({ text, growing }: { readonly text: string; readonly growing: boolean }) {
  const words = text.split(/\s+/).filter((word) => word !== '').length;
  return (
    <details class="thoughts">
      <summary>
        {growing ? 'Thinking' : 'Thoughts'}
        <span class="muted numbers">{` · ${formatCount(words)} ${words === 1 ? 'word' : 'words'}`}</span>
      </summary>
      <div class="plain muted" tabIndex={0} role="region" aria-label="What the model thought">
        {text}
      </div>
    </details>
  );
}

/** While the last turn grows, the others are not rendered again. */
export function TurnView(props: TurnViewProps) {
  const { turn, siblings, results, resultSiblings, writing, busy, markdown, actions } = props;
  const around = [...siblings, ...resultSiblings].join();
  return useMemo(() => <TurnArticle {...props} />, [turn, around, results, writing, busy, markdown, actions]);
}

function Alternatives({
  siblings,
  id,
  show,
}: {
  readonly siblings: readonly number[];
  readonly id: number;
  readonly show: (turn: number) => void;
}) {
  if (siblings.length < 2) return null;
  const at = siblings.indexOf(id);
  return (
    <span class="alternatives numbers" role="group" aria-label="Alternatives">
      <Button
        name="Previous alternative"
        icon="previous"
        bare
        disabled={at === 0}
        onClick={() => show(siblings[at - 1])}
      />
      <span>
        {at + 1}/{siblings.length}
      </span>
      <Button
        name="Next alternative"
        icon="next"
        bare
        disabled={at === siblings.length - 1}
        onClick={() => show(siblings[at + 1])}
      />
    </span>
  );
}

function EditForm({
  text,
  onSave,
  onCancel,
}: {
  readonly text: string;
  readonly onSave: (text: string) => void;
  readonly onCancel: () => void;
}) {
  const [changed, setChanged] = useState(text);
  return (
    <form
      class="edit"
      onSubmit={(event) => {
        event.preventDefault();
        if (changed !== '') onSave(changed);
      }}
      onKeyDown={({ key }) => {
        if (key === 'Escape') onCancel();
      }}
    >
      <textarea
        aria-label="Changed text"
        rows={3}
        value={changed}
        ref={(field) => field?.focus()}
        onInput={({ currentTarget }) => setChanged(currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          if (changed !== '') onSave(changed);
        }}
      />
      <Button name="Send as a branch" kind="primary" type="submit" disabled={changed === ''} />
      <Button name="Cancel" onClick={onCancel} />
    </form>
  );
}
