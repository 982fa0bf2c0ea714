/** Labelled fields: sliders, numbers, texts, choices, checks. Values are reported on every change. */
import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

interface FieldProps {
  readonly label: string;
  /** Said below the field, and read with it. */
  readonly note?: string;
}

/** A label over a field, its note below. */
function Field({
  label,
  note,
  value,
  children,
}: FieldProps & { readonly value?: string; readonly children: (ids: Ids) => ComponentChildren }) {
  const id = useId();
  const described = note === undefined ? undefined : `${id}-note`;
  return (
    <div class="field">
      <div class="label">
        <label for={id}>{label}</label>
        {value !== undefined && (
          <output class="value" for={id}>
            {value}
          </output>
        )}
      </div>
      {children({ id, described })}
      {note !== undefined && (
        <span class="note" id={described}>
          {note}
        </span>
      )}
    </div>
  );
}

interface Ids {
  readonly id: string;
  readonly described: string | undefined;
}

export interface SliderProps extends FieldProps {
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly step: number;
  /** Formats the value. Default: unchanged. */
  readonly format?: (value: number) => string;
  readonly onValue: (value: number) => void;
}

export function Slider({ label, note, value, min, max, step, format = String, onValue }: SliderProps) {
  return (
    <Field label={label} note={note} value={format(value)}>
      {({ id, described }) => (
        <input
          id={id}
          aria-describedby={described}
          aria-valuetext={format(value)}
          type="range"
          min={min}
          max={max}
          step={step}
          value={value}
          onInput={({ currentTarget }) => onValue(Number(currentTarget.value))}
        />
      )}
    </Field>
  );
}

export interface NumberFieldProps extends FieldProps {
  /** Undefined is an empty field. */
  readonly value: number | undefined;
  readonly min: number;
  readonly max: number;
  readonly placeholder?: string;
  /** Called with whole numbers in the range, or undefined for an empty field; not called otherwise. */
  readonly onValue: (value: number | undefined) => void;
}

export function NumberField({ label, note, value, min, max, placeholder, onValue }: NumberFieldProps) {
  return (
    <Field label={label} note={note}>
      {({ id, described }) => (
        <input
          id={id}
          aria-describedby={described}
          type="number"
          inputMode="numeric"
          min={min}
          max={max}
          step={1}
          placeholder={placeholder}
          value={value ?? ''}
          onInput={({ currentTarget }) => {
            if (currentTarget.value === '' && currentTarget.validity.valid) onValue(undefined);
            else if (currentTarget.validity.valid) onValue(Number(currentTarget.value));
          }}
        />
      )}
    </Field>
  );
}

export interface TextFieldProps extends FieldProps {
  readonly value: string;
  /** Rows of a field of several lines. Default: one line. */
  readonly rows?: number;
  /** Shows dots instead of characters; for one line. */
  readonly secret?: boolean;
  /** Has the focus when its dialog opens; for one line. */
  readonly first?: boolean;
  readonly placeholder?: string;
  readonly onValue: (value: string) => void;
}

export function TextField(props: TextFieldProps) {
  const { label, note, value, rows, secret = false, first = false, placeholder, onValue } = props;
  return (
    <Field label={label} note={note}>
      {({ id, described }) => {
        const shared = { id, 'aria-describedby': described, placeholder, value };
        if (rows !== undefined) {
          return <textarea {...shared} rows={rows} onInput={({ currentTarget }) => onValue(currentTarget.value)} />;
        }
        const line = {
          ...shared,
          autocomplete: 'off',
          autofocus: first,
          onInput: (event: { currentTarget: HTMLInputElement }) => onValue(event.currentTarget.value),
        };
        return secret ? <input {...line} type="password" /> : <input {...line} type="text" />;
      }}
    </Field>
  );
}

export interface ChoiceFieldProps<V extends string> extends FieldProps {
  readonly value: V;
  /** Values with their labels. */
  readonly choices: Readonly<Record<V, string>>;
  readonly onValue: (value: V) => void;
}

export function ChoiceField<V extends string>({ label, note, value, choices, onValue }: ChoiceFieldProps<V>) {
  const isValue = (given: string): given is V => Object.hasOwn(choices, given);
  return (
    <Field label={label} note={note}>
      {({ id, described }) => (
        <select
          id={id}
          aria-describedby={described}
          value={value}
          onChange={({ currentTarget }) => {
            if (isValue(currentTarget.value)) onValue(currentTarget.value);
          }}
        >
          {Object.entries<string>(choices).map(([key, name]) => (
            <option key={key} value={key}>
              {name}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

export interface CheckFieldProps {
  readonly label: string;
  readonly checked: boolean;
  readonly onValue: (checked: boolean) => void;
}

export function CheckField({ label, checked, onValue }: CheckFieldProps) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} onChange={({ currentTarget }) => onValue(currentTarget.checked)} />
      {label}
    </label>
  );
}
