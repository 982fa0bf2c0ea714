/** The output of a response: thoughts, messages and calls in the order in which they come, as events and as items. */
import type { CalledAnswer, CalledPart, MadeCall } from '../../../engine/tools/call-reader.ts';
import { finishOf } from './answer-parts.ts';
import type { TextRecord } from './records.ts';
import { answerTo, type Calling } from './tool-fields.ts';

type Status = 'in_progress' | 'completed' | 'incomplete';

/** What grows in an item, as events name it. */
const growing = { thought: 'reasoning_text', text: 'output_text', call: 'function_call_arguments' };

const prefixes = { thought: 'rs', text: 'msg', call: 'fc' };

/** Clients expect log-probabilities of texts. */
const noScores = { logprobs: [] };

interface Item {
  readonly type: keyof typeof growing;
  readonly id: string;
  /** Its place in the output. */
  readonly index: number;
  readonly call?: { readonly call_id: string; readonly name: string };
  /** Its text, or the arguments of a call. */
  text: string;
}

/** The response whose output has the item of this id; undefined for other ids. */
export function responseOf(itemId: string): string | undefined {
  const unique = /^(?:rs|msg|fc)_([0-9a-f]{32})_\d+$/.exec(itemId)?.[1];
  return unique && `resp_${unique}`;
}

function contentPart(text: string) {
  return { type: 'output_text', text, annotations: [], logprobs: [] };
}

function itemBody({ type, id, call, text }: Item, status: Status): object {
  if (call !== undefined) return { id, type: 'function_call', status, ...call, arguments: text };
  const content = (part: object) => (status === 'in_progress' ? [] : [part]);
  if (type === 'text') return { id, type: 'message', role: 'assistant', status, content: content(contentPart(text)) };
  return { id, type: 'reasoning', status, summary: [], content: content({ type: 'reasoning_text', text }) };
}

/** One answer's output, folded from its record: `events` for streams, `items` for the body. Both read the record anew. */
export class ResponseOutput {
  readonly answer: CalledAnswer;
  readonly #id: string;
  readonly #record: TextRecord;
  readonly #items: Item[] = [];
  readonly #events: object[] = [];
  #read = 0;
  #isOver = false;

  /** @param id of the response */
  constructor(id: string, record: TextRecord, calling: Calling | undefined) {
    this.#id = id;
    this.#record = record;
    this.answer = answerTo(record, calling);
    if (calling === undefined && record.job.thinking === undefined) this.#begin('text');
  }

  get status(): Status {
    const { ended } = this.#record;
    if (ended === undefined) return 'in_progress';
    return finishOf(ended) === 'length' ? 'incomplete' : 'completed';
  }

  /** The events since the last call. */
  events(): readonly object[] {
    this.#update();
    return this.#events.splice(0);
  }

  /** The items of an answer that has ended; none before. */
  items(): readonly object[] {
    this.#update();
    if (!this.#isOver) return [];
    return this.#items.map((item) => {
      return itemBody(item, item.index < this.#items.length - 1 ? 'completed' : this.#lastStatus);
    });
  }

  /** A stop string may cut the last call short. */
  get #lastStatus(): Status {
    return this.answer.isCut ? 'incomplete' : this.status;
  }

  /** Takes in the text that has come. The last item of an answer is a message or a call. */
  #update(): void {
    const { text } = this.#record.choices[0];
    this.#tell(this.answer.push(text.slice(this.#read)));
    this.#read = text.length;
    if (this.#isOver || this.status === 'in_progress') return;
    this.#isOver = true;
    this.#tell(this.answer.end());
    if ((this.#items.at(-1)?.type ?? 'thought') === 'thought') this.#begin('text');
    this.#end(this.#lastStatus);
  }

  #tell(parts: readonly CalledPart[]): void {
    for (const part of parts) {
      if (part.type === 'call') this.#begin('call', part.call);
      else if (part.type === 'arguments') this.#grow('call', part.json);
      else this.#grow(part.type, part.text);
    }
  }

  #grow(type: Item['type'], delta: string): void {
    const last = this.#items.at(-1);
    const item = last?.type === type ? last : this.#begin(type);
    if (delta === '') return;
    item.text += delta;
    this.#events.push({
      type: `response.${growing[type]}.delta`,
      ...placeOf(item),
      delta,
      ...(type === 'text' && noScores),
    });
  }

  #begin(type: Item['type'], called?: MadeCall): Item {
    this.#end('completed');
    const call = called && { call_id: called.callId, name: called.name };
    const index = this.#items.length;
    const item = { type, id: `${prefixes[type]}${this.#id.slice('resp'.length)}_${index}`, index, call, text: '' };
    this.#items.push(item);
    this.#tellItem('added', item, 'in_progress');
    if (type === 'text') this.#tellPart('added', item);
    return item;
  }

  #end(status: Status): void {
    const item = this.#items.at(-1);
    if (item === undefined) return;
    const { type, call, text } = item;
    const whole = call === undefined ? { text } : { name: call.name, arguments: text };
    this.#events.push({
      type: `response.${growing[type]}.done`,
      ...placeOf(item),
      ...whole,
      ...(type === 'text' && noScores),
    });
    if (type === 'text') this.#tellPart('done', item);
    this.#tellItem('done', item, status);
  }

  #tellItem(what: string, item: Item, status: Status): void {
    const type = `response.output_item.${what}`;
    this.#events.push({ type, output_index: item.index, item: itemBody(item, status) });
  }

  #tellPart(what: string, item: Item): void {
    this.#events.push({ type: `response.content_part.${what}`, ...placeOf(item), part: contentPart(item.text) });
  }
}

function placeOf({ id: item_id, index: output_index, call }: Item): object {
  return { item_id, output_index, ...(call === undefined && { content_index: 0 }) };
}
