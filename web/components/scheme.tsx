/** Light and dark: follows the system until the button overrides it; the browser keeps the choice. */
import { useState } from 'preact/hooks';
import { Button } from './button.tsx';

const schemes = ['system', 'light', 'dark'] as const;
type Scheme = (typeof schemes)[number];

const storageKey = 'linnet-scheme';

function isScheme(value: unknown): value is Scheme {
  return schemes.some((scheme) => scheme === value);
}

/** Applies the choice of an earlier visit; to be called before the page is drawn. */
export function restoreScheme(): Scheme {
  let kept: unknown;
  try {
    kept = localStorage.getItem(storageKey);
  } catch {
    // Storage may be forbidden; the system's scheme is a good answer.
  }
  const scheme = isScheme(kept) ? kept : 'system';
  apply(scheme);
  return scheme;
}

function apply(scheme: Scheme): void {
  const { dataset } = document.documentElement;
  if (scheme === 'system') delete dataset.scheme;
  else dataset.scheme = scheme;
}

/** Goes through system, light and dark. */
export function SchemeButton() {
  const [scheme, setScheme] = useState(restoreScheme);
  const next = schemes[(schemes.indexOf(scheme) + 1) % schemes.length];
  return (
    <Button
      name={`Colours: ${scheme}. Switch to ${next}`}
      icon="scheme"
      kind="plain"
      bare
      onClick={() => {
        apply(next);
        setScheme(next);
        try {
          localStorage.setItem(storageKey, next);
        } catch {
          // Kept for this visit only.
        }
      }}
    />
  );
}

/** Calls `changed` whenever the page's colors change; returns a function to stop. For canvas drawings. */
export function watchScheme(changed: () => void): () => void {
  const system = matchMedia('(prefers-color-scheme: dark)');
  const observer = new MutationObserver(changed);
  system.addEventListener('change', changed);
  observer.observe(document.documentElement, { attributeFilter: ['data-scheme'] });
  return () => {
    system.removeEventListener('change', changed);
    observer.disconnect();
  };
}

/** Theme colors by name, for a canvas: the current values of `light-dark()`. */
export function themeColours(element: HTMLElement): (name: string) => string {
  const known = new Map<string, string>();
  return (name) => {
    let colour = known.get(name);
    if (colour === undefined) {
      element.style.color = `var(${name})`;
      colour = getComputedStyle(element).color;
      element.style.color = '';
      known.set(name, colour);
    }
    return colour;
  };
}
