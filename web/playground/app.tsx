/** The page: the open model and its views. */
import type { ComponentType } from 'preact';
import { useCallback, useEffect, useMemo, useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { ChoiceField } from '../components/fields.tsx';
import { SchemeButton } from '../components/scheme.tsx';
import { webGpuSupport, type WebGpuSupport } from '../../src/runtime/webgpu-support.ts';
import { formatBytes, formatCount } from '../../src/report/quantities.ts';
import { droppedFolder } from './folder-files.ts';
import { askedInAddress, deviceNames, sharesEngine, shippedModel } from './devices.ts';
import { ModelClient } from './model-client.ts';
import { OpenDialog } from './open-dialog.tsx';
import type { ModelFacts, ChosenModel } from './protocol.ts';
import type { ViewProps } from './view-props.ts';
import { WriteView } from './write-view.tsx';

type View = ComponentType<ViewProps>;

/** Views other than the first load when first shown, so tabs that only write take less memory. */
const views: Readonly<Record<string, () => View | Promise<View>>> = {
  Write: () => WriteView,
  Memory: () => import('./memory-view.tsx').then(({ MemoryView }) => MemoryView),
  Train: () => import('./train-view.tsx').then(({ TrainView }) => TrainView),
  Attention: () => import('./attention-view.tsx').then(({ AttentionView }) => AttentionView),
  Mask: () => import('./mask-view.tsx').then(({ MaskView }) => MaskView),
};

/** Progress of opening a model. */
interface Opening {
  readonly done: number;
  readonly total: number;
  /** Bytes of `done` kept from an earlier visit. */
  readonly cached: number;
  readonly compiling: boolean;
}

export function PlaygroundApp() {
  const client = useMemo(() => new ModelClient(sharesEngine()), []);
  const [facts, setFacts] = useState<ModelFacts | undefined>(undefined);
  const [models, setModels] = useState(0);
  const [shipped, setShipped] = useState(false);
  const [gpu, setGpu] = useState<WebGpuSupport>();
  const [opening, setOpening] = useState<Opening | undefined>(undefined);
  const [view, setView] = useState('Write');
  const [shown, setShown] = useState<Readonly<Record<string, View>>>({ Write: WriteView });
  const [busy, setBusy] = useState(false);
  const [asking, setAsking] = useState(false);
  const [dragging, setDragging] = useState(false);
  const [problem, setProblem] = useState<string | undefined>(undefined);

  const onProblem = useCallback((error: unknown) => {
    setProblem(error instanceof Error ? error.message : String(error));
  }, []);
  const open = useCallback(
    (source: ChosenModel): void => {
      setAsking(false);
      setProblem(undefined);
      setOpening({ done: 0, total: 0, cached: 0, compiling: false });
      client
        .open(source, askedInAddress().threads, (progress) => {
          if (progress.type !== 'opening') return;
          const { done, total, cached, file } = progress;
          setOpening({ done, total, cached, compiling: file === undefined });
        })
        .then((opened) => {
          setFacts(opened);
          setShipped(source.kind === 'url' && source.url === shippedModel(opened.device));
          setModels((count) => count + 1);
        })
        .catch(onProblem)
        .finally(() => setOpening(undefined));
    },
    [client, onProblem],
  );

  useEffect(() => {
    const { model, device } = askedInAddress();
    open({ kind: 'url', url: model ?? shippedModel(device) });
    webGpuSupport().then(
      (support) => setGpu(support),
      () => setGpu(undefined),
    );
  }, [open]);
  useEffect(() => {
    const over = (event: DragEvent): void => {
      event.preventDefault();
      setDragging(true);
    };
    const leave = ({ relatedTarget }: DragEvent): void => {
      if (relatedTarget === null) setDragging(false);
    };
    const drop = (event: DragEvent): void => {
      event.preventDefault();
      setDragging(false);
      if (event.dataTransfer === null || busy || opening !== undefined) return;
      droppedFolder(event.dataTransfer.items).then((folder) => {
        if (folder !== undefined) open(folder);
      }, onProblem);
    };
    addEventListener('dragover', over);
    addEventListener('dragleave', leave);
    addEventListener('drop', drop);
    return () => {
      removeEventListener('dragover', over);
      removeEventListener('dragleave', leave);
      removeEventListener('drop', drop);
    };
  }, [open, onProblem, busy, opening]);

  const show = (name: string): void => {
    setView(name);
    const load = async (): Promise<void> => {
      const View = await views[name]();
      setShown((before) => ({ ...before, [name]: View }));
    };
    if (shown[name] === undefined) load().catch(onProblem);
  };
  const ready = facts !== undefined && opening === undefined && !busy;
  return (
    <>
      <header class="top">
        <h1>Linnet playground</h1>
        <nav class="tabs" aria-label="Views">
          {Object.keys(views).map((name) => (
            <Button key={name} name={name} kind="quiet" pressed={view === name} onClick={() => show(name)} />
          ))}
        </nav>
        <div class="buttons">
          <Button
            name="Open a model"
            icon="open"
            disabled={opening !== undefined || busy}
            onClick={() => setAsking(true)}
          />
          <SchemeButton />
        </div>
      </header>
      <section class="intro" aria-label="About">
        A language model that runs in this tab, with attention that keeps a state of constant size. <em>Write</em> lets
        it continue a text, with and without speculation; the other views show its memory, train it and look inside.{' '}
        <a href="./explained/group.html">How groups work</a>, <a href="./explained/tree.html">why trees are exact</a>,{' '}
        <a href="./explained/convolution.html">what the convolution adds</a>.
      </section>
      <section class="model numbers" aria-label="Model" data-ready={ready}>
        {opening === undefined ? (
          <span>{facts === undefined ? 'No model is open.' : described(facts, gpu?.software === true)}</span>
        ) : (
          <OpeningBar {...opening} />
        )}
        {gpu?.available === true && shipped && ready && facts !== undefined && (
          <ChoiceField
            label="Computes with"
            value={facts.device}
            choices={deviceNames}
            onValue={(device) => open({ kind: 'url', url: shippedModel(device) })}
          />
        )}
      </section>
      {problem !== undefined && (
        <div class="notice" role="alert">
          <span>{problem}</span>
          <Button name="Dismiss" icon="close" bare onClick={() => setProblem(undefined)} />
        </div>
      )}
      <main key={models}>
        {Object.entries(shown).map(([name, View]) => (
          <div key={name} hidden={view !== name}>
            <View client={client} facts={facts} ready={ready} onBusy={setBusy} onProblem={onProblem} />
          </div>
        ))}
      </main>
      {dragging && <div class="dropping">Drop an exported folder to open it</div>}
      {asking && <OpenDialog onClose={() => setAsking(false)} onSource={open} />}
    </>
  );
}

function OpeningBar({ done, total, cached, compiling }: Opening) {
  const kept = cached === 0 ? '' : `, ${formatBytes(cached)} kept from an earlier visit`;
  return (
    <>
      <progress aria-label="Opening the model" max={Math.max(1, total)} value={done} />
      <span>{compiling ? 'compiling' : `${formatBytes(done)} of ${formatBytes(total)}${kept}`}</span>
    </>
  );
}

function described(facts: ModelFacts, software: boolean): string {
  const { name, family, layers, mixers, dtype } = facts;
  return `${name}: ${family}, ${formatCount(layers)} layers, ${mixers.join(' and ')}, ${dtype}; ${deviceOf(facts, software)}.`;
}

function deviceOf({ device, threads }: ModelFacts, software: boolean): string {
  if (device === 'webgpu') {
    return `WebGPU in this tab${software ? ', imitated by the processor: WebAssembly is faster here' : ''}`;
  }
  const how = crossOriginIsolated
    ? `${formatCount(threads)} ${threads === 1 ? 'thread' : 'threads'}`
    : 'one thread, because the page is not cross-origin isolated: large models are slower';
  return `WebAssembly in this tab, ${how}`;
}
