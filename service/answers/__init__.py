"""What was answered to requests that create something, so that a repeated one makes nothing anew."""
