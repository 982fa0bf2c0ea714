/** The page: sessions side by side, and what concerns all of them. */
import { useCallback, useEffect, useMemo, useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { Dialog } from '../components/dialog.tsx';
import { TextField } from '../components/fields.tsx';
import { SchemeButton } from '../components/scheme.tsx';
import { ColumnModel, type ColumnStart } from './column-model.ts';
import { ChatColumn } from './column.tsx';
import { readConversation } from './conversation-file.ts';
import { showTurn } from './conversation.ts';
import { chooseFile } from '../components/files.ts';
import { KeyNeeded, Server, type ServerFacts } from './server.ts';

const keyStorage = 'linnet-api-key';
const mostColumns = 6;

function keptKey(): string {
  try {
    return sessionStorage.getItem(keyStorage) ?? '';
  } catch {
    return '';
  }
}

export function ChatApp() {
  const [key, setKey] = useState(keptKey);
  const server = useMemo(() => new Server(key), [key]);
  const [facts, setFacts] = useState<ServerFacts | undefined>(undefined);
  const [columns, setColumns] = useState<readonly ColumnModel[]>([]);
  const [made, setMade] = useState(0);
  const [askingKey, setAskingKey] = useState(false);
  const [problem, setProblem] = useState<string | undefined>(undefined);

  const onProblem = useCallback((error: unknown) => {
    if (error instanceof KeyNeeded) setAskingKey(true);
    else setProblem(error instanceof Error ? error.message : String(error));
  }, []);

  useEffect(() => {
    let current = true;
    server.facts().then((found) => {
      if (!current) return;
      setFacts(found);
      document.title = `${found.model} · Linnet`;
      setColumns((known) => (known.length > 0 ? known : [new ColumnModel(1, found.chat)]));
      setMade((count) => Math.max(1, count));
    }, onProblem);
    return () => {
      current = false;
    };
  }, [server, onProblem]);

  const add = (start?: ColumnStart): void => {
    if (facts === undefined || columns.length >= mostColumns) return;
    setColumns([...columns, new ColumnModel(made + 1, facts.chat, start)]);
    setMade(made + 1);
  };
  const beside = (from: ColumnModel, turn: number): void => {
    const { conversation, settings, session } = from.snapshot;
    add({ conversation: { ...showTurn(conversation, turn), leaf: turn }, settings, session });
  };
  const open = async (): Promise<void> => {
    const file = await chooseFile();
    if (file === undefined) return;
    if (file.name.endsWith('.json')) {
      const { conversation, system } = readConversation(await file.text());
      add({ conversation, settings: { system } });
      return;
    }
    const id = await server.openSession(file);
    add({ session: { id, text: await server.sessionText(id) } });
  };
  const close = (model: ColumnModel): void => {
    model.stop();
    setColumns(columns.filter((column) => column !== model));
    const { session } = model.snapshot;
    const shared = columns.some((column) => column !== model && column.snapshot.session?.id === session?.id);
    if (session !== undefined && !shared) void server.forget(session.id);
  };

  return (
    <>
      <header class="top">
        <h1>Linnet</h1>
        {facts !== undefined && <span class="model">{facts.model}</span>}
        <div class="buttons">
          <Button
            name="New session"
            icon="plus"
            disabled={facts === undefined || columns.length >= mostColumns}
            onClick={() => add()}
          />
          <Button
            name="Open"
            icon="open"
            disabled={facts === undefined || columns.length >= mostColumns}
            onClick={() => {
              open().catch(onProblem);
            }}
          />
          <SchemeButton />
        </div>
      </header>
      {problem !== undefined && (
        <div class="notice" role="alert">
          <span>{problem}</span>
          <Button name="Dismiss" icon="close" kind="quiet" bare onClick={() => setProblem(undefined)} />
        </div>
      )}
      <main class="columns">
        {columns.map((model) => (
          <ChatColumn
            key={model.id}
            model={model}
            server={server}
            title={`Session ${model.id}`}
            onClose={columns.length > 1 ? () => close(model) : undefined}
            onBeside={beside}
            onProblem={onProblem}
          />
        ))}
      </main>
      {askingKey && (
        <KeyDialog
          onClose={() => setAskingKey(false)}
          onKey={(given) => {
            try {
              sessionStorage.setItem(keyStorage, given);
            } catch {
              // Kept as long as the page is open.
            }
            setKey(given);
            setAskingKey(false);
          }}
        />
      )}
    </>
  );
}

function KeyDialog({ onClose, onKey }: { readonly onClose: () => void; readonly onKey: (key: string) => void }) {
  const [key, setKey] = useState('');
  return (
    <Dialog
      title="API key"
      onClose={onClose}
      footer={<Button name="Use" kind="primary" disabled={key === ''} onClick={() => onKey(key)} />}
    >
      <TextField
        label="Key"
        note="The server asks for one. It is kept until this tab is closed."
        secret
        value={key}
        onValue={setKey}
      />
    </Dialog>
  );
}
