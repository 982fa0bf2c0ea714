/** Pictures of buttons: strokes in a square of 24, in the colour of the text around them. */

const paths = {
  send: 'M5 12h13M12 5l7 7-7 7',
  stop: 'M7 7h10v10H7z',
  again: 'M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6',
  fork: 'M6 4v16M6 12h5a6 6 0 0 0 6-6V4M14 7l3-3 3 3',
  edit: 'M4 20h4L19 9l-4-4L4 16zM13 7l4 4',
  beside: 'M4 5h16v14H4zM12 5v14',
  settings: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5',
  save: 'M12 4v11M7 10.5l5 5 5-5M4 20h16',
  open: 'M12 16V5M7 9.500l5-5 5 5M4 20h16',
  close: 'M6 6l12 12M18 6L6 18',
  previous: 'M14.500 6l-6 6 6 6',
  next: 'M9.500 6l6 6-6 6',
  scheme: 'M12 3a9 9 0 1 0 9 9 7 7 0 0 1-9-9z',
  chart: 'M4 4v16h16M7 15l4-5 3 3 5-7',
  plus: 'M12 5v14M5 12h14',
  list: 'M4 7h16M4 12h16M4 17h10',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { readonly name: IconName }) {
  return (
    <svg viewBox="0 0 24 24" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}
