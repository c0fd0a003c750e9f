"""Reports: the trigger-probing report of a job as JSON and as one self-contained HTML page.

Everything in it was written by a job and by the model under test, so it is data: counts are judged
again here, texts are escaped, control characters are shown as escapes.
"""
