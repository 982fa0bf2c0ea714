/** One session: its facts, its text, the side panel, and the input. */
import type { ComponentChildren, RefObject } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { formatBytes, formatCount, formatNumber } from '../../src/report/quantities.ts';
import { Button } from '../components/button.tsx';
import { Dialog } from '../components/dialog.tsx';
import type { ColumnModel, ColumnSnapshot } from './column-model.ts';
import { writeConversation } from './conversation-file.ts';
import { shownPath, siblingsOf } from './conversation.ts';
import { saveFile } from '../components/files.ts';
import { Insight } from './insight.tsx';
import type { Server } from './server.ts';
import { SettingsDialog } from './settings-dialog.tsx';
import { type TurnActions, TurnView } from './turn-view.tsx';

export interface ColumnProps {
  readonly model: ColumnModel;
  readonly server: Server;
  readonly title: string;
  /** Undefined for the only column. */
  readonly onClose?: () => void;
  /** Opens the conversation up to a turn in a new column. */
  readonly onBeside: (model: ColumnModel, turn: number) => void;
  /** Reports problems outside answers. */
  readonly onProblem: (error: unknown) => void;
}

/** The model's current snapshot; renders again on every change. */
function useSnapshot(model: ColumnModel): ColumnSnapshot {
  const [snapshot, setSnapshot] = useState(model.snapshot);
  useEffect(() => {
    setSnapshot(model.snapshot);
    return model.watch(() => setSnapshot(model.snapshot));
  }, [model]);
  return snapshot;
}

/** Width in pixels from which the panel fits next to the text. */
const roomForInsight = 900;

/** Whether the panel fits. */
function useRoom(column: RefObject<HTMLElement | null>): boolean {
  const [room, setRoom] = useState(false);
  useEffect(() => {
    if (column.current === null) return undefined;
    const observer = new ResizeObserver(([{ contentRect }]) => setRoom(contentRect.width >= roomForInsight));
    observer.observe(column.current);
    return () => observer.disconnect();
  }, [column]);
  return room;
}

export function ChatColumn({ model, server, title, onClose, onBeside, onProblem }: ColumnProps) {
  const snapshot = useSnapshot(model);
  const { conversation, settings, session, writing, facts } = snapshot;
  const [asking, setAsking] = useState<'settings' | 'save' | undefined>(undefined);
  const column = useRef<HTMLElement>(null);
  const room = useRoom(column);
  /** The reader's choice; undefined: shown if it fits. */
  const [wanted, setWanted] = useState<boolean | undefined>(undefined);
  const insight = wanted ?? room;
  const busy = writing !== undefined;
  const path = shownPath(conversation);
  const actions = useMemo(
    (): TurnActions => ({
      show: (turn) => model.show(turn),
      again: (turn) => void model.again(server, turn),
      edit: (turn, text) => void model.edit(server, turn, text),
      giveResults: (turn, results) => void model.giveResults(server, turn, results),
      beside: (turn) => onBeside(model, turn),
    }),
    [model, server, onBeside],
  );
  return (
    <section
      ref={column}
      class="column"
      aria-label={title}
      onKeyDown={({ key }) => {
        if (key === 'Escape' && busy) model.stop();
      }}
    >
      <header class="bar">
        <h2>
          {snapshot.name !== '' ? (
            snapshot.name
          ) : (
            <>
              <span class="kind">Session </span>
              {model.id}
            </>
          )}
        </h2>
        <dl class="facts numbers">
          <Fact name="state" value={facts.stateBytes === undefined ? '–' : formatBytes(facts.stateBytes)} />
          <Fact name="tokens" value={facts.position === undefined ? '–' : formatCount(facts.position)} />
          <Fact
            name="tokens/s"
            value={facts.tokensPerSecond === undefined ? '–' : formatNumber(facts.tokensPerSecond, 3)}
          />
        </dl>
        <div class="buttons">
          <Button
            name="Branches, trees and charts"
            icon="chart"
            bare
            pressed={insight}
            onClick={() => setWanted(!insight)}
          />
          <Button name="Save" icon="save" bare onClick={() => setAsking('save')} />
          <Button name="Settings" icon="settings" bare onClick={() => setAsking('settings')} />
          {onClose !== undefined && <Button name={`Close ${title}`} icon="close" bare onClick={onClose} />}
        </div>
      </header>
      <div class={insight ? 'content with-insight' : 'content'}>
        <Log>
          {session !== undefined && <div class="turn plain opened">{session.text}</div>}
          {path.length === 0 && session === undefined && <Welcome chat={model.chat} />}
          {path.map((turn, place) => {
            // Results are shown with their calls.
            if (turn.author === 'tool') return null;
            const next = path.at(place + 1);
            const results = next?.author === 'tool' ? next : undefined;
            const alternatives = (id: number): number[] => siblingsOf(conversation, id).map((sibling) => sibling.id);
            return (
              <TurnView
                key={turn.id}
                turn={turn}
                siblings={alternatives(turn.id)}
                results={results}
                resultSiblings={results === undefined ? [] : alternatives(results.id)}
                writing={writing === turn.id}
                busy={busy}
                markdown={settings.markdown}
                actions={actions}
              />
            );
          })}
        </Log>
        {insight && <Insight snapshot={snapshot} onShow={actions.show} />}
      </div>
      <Composer
        chat={model.chat}
        busy={busy}
        canContinue={!model.chat && (path.length > 0 || session !== undefined)}
        onSend={(text) => void model.send(server, text)}
        onStop={() => model.stop()}
      />
      {asking === 'settings' && (
        <SettingsDialog
          settings={settings}
          defaults={model.defaults}
          chat={model.chat}
          onSettings={(changed) => model.setSettings(changed)}
          onClose={() => setAsking(undefined)}
        />
      )}
      {asking === 'save' && (
        <SaveDialog
          empty={path.length === 0 && session === undefined}
          onClose={() => setAsking(undefined)}
          onConversation={() => {
            const text = writeConversation({ conversation, system: settings.system });
            saveFile(new Blob([text], { type: 'application/json' }), 'conversation.json');
            setAsking(undefined);
          }}
          onSession={() => {
            setAsking(undefined);
            server.saveSession(model.question()).then((file) => saveFile(file, 'session.linnet'), onProblem);
          }}
        />
      )}
    </section>
  );
}

function Fact({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function Welcome({ chat }: { readonly chat: boolean }) {
  return (
    <div class="welcome">
      <p>
        <strong>{chat ? 'Write a message.' : 'Write the beginning of a text.'}</strong>
      </p>
      <p class="muted">
        {chat
          ? 'The model answers by its chat template.'
          : 'This model has no chat template: it continues your text word for word.'}{' '}
        However long the conversation, the model remembers it in one state.
      </p>
    </div>
  );
}

/** Stays scrolled to the end unless the reader scrolls up. Markdown still grows after its text is drawn. */
function Log({ children }: { readonly children: ComponentChildren }) {
  const log = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    const { current } = log;
    if (current === null) return undefined;
    const follow = (): void => {
      if (atEnd.current) current.scrollTop = current.scrollHeight;
    };
    follow();
    const observer = new MutationObserver(follow);
    observer.observe(current, { childList: true, subtree: true, characterData: true });
    return () => observer.disconnect();
  }, []);
  return (
    <div
      ref={log}
      class="log"
      role="log"
      aria-label="Text"
      tabIndex={0}
      onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => {
        atEnd.current = scrollHeight - scrollTop - clientHeight < 60;
      }}
    >
      {children}
    </div>
  );
}

interface ComposerProps {
  readonly chat: boolean;
  readonly busy: boolean;
  /** Whether there is a text to continue without new input. */
  readonly canContinue: boolean;
  readonly onSend: (text: string) => void;
  readonly onStop: () => void;
}

function Composer({ chat, busy, canContinue, onSend, onStop }: ComposerProps) {
  const [text, setText] = useState('');
  const send = (): void => {
    if (busy || (text === '' && !canContinue)) return;
    onSend(text);
    setText('');
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        aria-label={chat ? 'Message' : 'Text to continue'}
        placeholder={chat ? 'Message' : canContinue ? 'More text, or nothing' : 'Once upon a time'}
        rows={2}
        value={text}
        onInput={({ currentTarget }) => setText(currentTarget.value)}
        onKeyDown={(event) => {
          // While an input method composes a word, Enter ends the word.
          if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          send();
        }}
      />
      {busy ? (
        <Button key="stop" name="Stop" icon="stop" kind="danger" onClick={onStop} />
      ) : (
        // A separate element: a click on Stop must not hit a button that has just replaced it.
        <Button
          key="send"
          name={chat ? 'Send' : 'Continue'}
          icon="send"
          kind="primary"
          type="submit"
          disabled={text === '' && !canContinue}
        />
      )}
    </form>
  );
}

interface SaveDialogProps {
  readonly empty: boolean;
  readonly onClose: () => void;
  readonly onConversation: () => void;
  readonly onSession: () => void;
}

function SaveDialog({ empty, onClose, onConversation, onSession }: SaveDialogProps) {
  return (
    <Dialog title="Save" onClose={onClose}>
      <div class="choice">
        <Button name="Save the session" icon="save" disabled={empty} onClick={onSession} />
        <p class="muted">
          The model's state after the shown text, as a session file. Any server, the library and the command line
          continue from it without reading the text.
        </p>
      </div>
      <div class="choice">
        <Button name="Save the conversation" icon="save" disabled={empty} onClick={onConversation} />
        <p class="muted">The texts of all branches, as JSON.</p>
      </div>
    </Dialog>
  );
}
