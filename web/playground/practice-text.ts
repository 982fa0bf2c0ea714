/** The *Train* view's initial text: our own, in words unlike the shipped model's. */
export const practiceText = `The linnet is a small bird. The linnet sings in the hedge, and the hedge stands at the end of the field. In spring the linnet builds a nest of grass and wool, and in the nest it lays five eggs. The eggs are pale blue, with small red spots.

The linnet eats seeds. It eats the seeds of flax and of thistles, and from flax it has its name. In summer the young linnets leave the nest and learn to find seeds for themselves. In autumn the linnets come together, and many small birds fly over the fields as one.

A fox came to the hedge and asked the linnet why it sang. "I sing because the seeds are ripe," said the linnet. "I sing because the nest is warm, and because the morning is clear." The fox listened for a while, and then it went home without a word.

When winter comes, the linnet does not sing. It sits in the hedge with the other linnets, and they wait for the spring. In spring the linnet sings again, and the hedge is green, and the field is full of seeds.
`;
