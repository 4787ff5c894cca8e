"""What OpenAI's two dialects of a conversation, Chat Completions and Responses, say in the same words.

`errors` reads and writes errors, `values` media, log probabilities and small shapes, `frames` what stands in a stream
where no event should be. No dialect by itself: the two do not know each other, both know this.
"""
