/** Buttons, with or without words; one without has its name for assistive technology and as a tip. */
import type { ComponentChildren } from 'preact';
import { Icon, type IconName } from './icon.tsx';

export interface ButtonProps {
  /** What it does; shown, unless there are children or the button is an icon alone. */
  readonly name: string;
  readonly onClick?: () => void;
  readonly icon?: IconName;
  /** Shows the icon alone. */
  readonly bare?: boolean;
  /** Default `quiet` for an icon alone, else `plain`. */
  readonly kind?: 'plain' | 'primary' | 'danger' | 'quiet';
  readonly type?: 'button' | 'submit';
  readonly disabled?: boolean;
  /** State of a toggle button. */
  readonly pressed?: boolean;
  /** State of a button that shows and hides something. */
  readonly expanded?: boolean;
  readonly children?: ComponentChildren;
}

export function Button({
  name,
  onClick,
  icon,
  bare = false,
  kind = bare ? 'quiet' : 'plain',
  type = 'button',
  disabled = false,
  pressed,
  expanded,
  children,
}: ButtonProps) {
  return (
    <button
      class={`button ${kind}${bare ? ' icon' : ''}`}
      type={type}
      disabled={disabled}
      title={bare ? name : undefined}
      aria-label={bare ? name : undefined}
      aria-pressed={pressed}
      aria-expanded={expanded}
      onClick={onClick}
    >
      {icon !== undefined && <Icon name={icon} />}
      {bare ? null : <span class="words">{children ?? name}</span>}
    </button>
  );
}
