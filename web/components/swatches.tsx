/** What colours of series stand for. */
export function Swatches({
  of,
}: {
  readonly of: readonly { readonly title: string; readonly series: number | 'muted' }[];
}) {
  return (
    <p class="swatches">
      {of.map(({ title, series }) => (
        <span key={title}>
          <svg width="12" height="12" aria-hidden="true">
            <rect class={`series-${series}`} width="12" height="12" rx="2" />
          </svg>
          {title}
        </span>
      ))}
    </p>
  );
}
